"""What runs inside the sandbox: started as a script, imports nothing else of the project."""
