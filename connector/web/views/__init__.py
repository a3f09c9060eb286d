"""What each page says: a function of a visit and a query, which returns what the JSON twin has."""
