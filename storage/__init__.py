"""All SQL of the project: records in, records out. Imports neither torch nor gradio."""
