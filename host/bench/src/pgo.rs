//! Whether this program is compiled with profile-guided optimisation (PGO).

/// Whether the servers are compiled with profile-guided optimisation; `programs::galo` compiles galo like this program.
pub const USED: bool = cfg!(galo_pgo);

/// The note on it beside the figures.
pub const NOTE: &str = if USED {
    "What is compiled here, the limit and plain included, is compiled with profile-guided optimisation; its profile is of\n\
     the contest's mix, for which all of it was driven alike (`deploy/pgo/train`)."
} else {
    "Nothing is compiled with profile-guided optimisation (`deploy/pgo`)."
};
