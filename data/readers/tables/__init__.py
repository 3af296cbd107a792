"""Tables on the way in: sheets of any format, their columns, and the votes that fill a corpus."""
