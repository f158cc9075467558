"""Tables, plots and the HTML page; they read only the results table."""
