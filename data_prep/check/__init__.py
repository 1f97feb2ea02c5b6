"""A cube looked at before it is used: quantiles, quicklooks, odd dates, on a page."""
