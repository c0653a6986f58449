"""Attacks by submitted code: what each one tries, what shows that it succeeded, and a driver that runs them all."""
