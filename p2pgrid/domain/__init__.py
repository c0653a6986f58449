"""A domain: what a node serves to people - accounts, datasets, code requests, policies, and an audit log."""
