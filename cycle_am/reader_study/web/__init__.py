"""The study as readers see it: server, pages, links, answers."""
