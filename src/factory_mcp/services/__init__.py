"""What the product does; sees only ports and the domain."""
