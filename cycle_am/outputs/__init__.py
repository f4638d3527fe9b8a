"""What comes out of an explanation: pictures, an animation, volumes in the source's coordinates, figures and a page."""
