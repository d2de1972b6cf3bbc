"""The stores and queues: where results go and how they are confirmed."""
