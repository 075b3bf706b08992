"""The utility's portal: a Django project."""
