"""How a run is started on several processes: the commands are in README.md beside this file."""
