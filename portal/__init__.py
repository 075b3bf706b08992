"""The utility's portal: a Django project that takes signed batches in and shows residents and staff what they say."""
