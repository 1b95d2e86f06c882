"""How fast is pgdual beside the clients that people use today?

Every row of the table is a pair: the same work by pgdual and by a peer, on one server, in one
process, in turns. Run it with ``python -m bench``; ``--help`` says the rest.
"""
