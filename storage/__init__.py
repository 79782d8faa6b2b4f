"""All SQL of the project, records in, records out; and the store's copies on the Hub.

Imports neither torch nor gradio.
"""
