"""What a researcher's or an owner's program holds: login, search, launch, and the objects of a domain."""
