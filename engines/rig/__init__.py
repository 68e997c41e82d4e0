"""The cameras found from the moving person, and what is made with them."""
