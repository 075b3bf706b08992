"""The outage table: what is lost and what comes twice when links, brokers, disks and programs fail, counted exactly."""
