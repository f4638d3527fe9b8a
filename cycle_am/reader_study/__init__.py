"""The double-blind reader study (paper, sec. 3.4 and 4.2): create, serve, analyse, plan, simulate."""
