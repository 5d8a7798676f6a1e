//! Weir: datapath.
