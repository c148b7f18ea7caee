"""What `deploy export --to fastapi` writes; the files `*.txt` are those of the project as they are, but for names."""
