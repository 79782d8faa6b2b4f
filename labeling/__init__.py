"""Who judges what and how that goes: the queue, disputes and agreement, import and export, and their tabs."""
