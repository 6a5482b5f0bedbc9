"""How code becomes a warm process: languages, frames, captured output, files, environment."""
