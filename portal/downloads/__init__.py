"""Usage as files: CSV, Excel, Green Button XML; a person's own data; how long each class of data is kept."""
