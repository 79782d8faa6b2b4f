"""What all tabs of the page share: its look, its keys, its templates, and how errors reach a person."""
