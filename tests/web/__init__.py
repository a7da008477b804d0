"""What is proven of every route there is: who gets in, what is told, and what a browser may do."""
