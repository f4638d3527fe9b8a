"""What readers are to see: cases, methods, orders, texts."""
