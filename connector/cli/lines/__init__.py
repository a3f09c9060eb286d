"""What several verbs print, in lines for people."""
