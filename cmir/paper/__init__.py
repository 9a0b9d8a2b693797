"""The paper's protocol on its six data sets, and its published numbers."""
