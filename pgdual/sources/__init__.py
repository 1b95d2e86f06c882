"""Where events come from besides PostgreSQL: an AsyncProjectionWorker drives any of them (J3).

A source has `append`, `read(from_position)` and `subscribe`. For the worker it has `tracks(projection)`, the
parts that it goes along, each in an order of its own with a checkpoint of its own: their `scan` is asked for
what comes after a position once all before it is committed. It `listen`s, or `wait`s where it is not
`is_told`, and says whether it `is_behind`.
"""
