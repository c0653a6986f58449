"""Peer-to-peer remote data science: data never leaves its owner, questions travel to it."""

__version__ = "0.1.0.dev0"
