"""Direct links between two nodes: who is there, proven both ways, and calls over sealed frames.

``handshake``, ``frames`` and ``channel`` take bytes and time and do no I/O; ``session`` runs them over any
``transport.MessageStream``; ``websocket``, ``door``, ``server`` and ``fetch`` are their aiohttp shells, all of
whose public names stand in ``http``.
"""
