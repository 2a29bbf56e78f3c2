"""How a request comes in and a result goes out; no decisions."""
