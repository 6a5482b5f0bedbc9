"""Programs that run inside language processes. No node imports them; they import none of mill."""
