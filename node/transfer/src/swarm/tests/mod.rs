//! The swarm core alone: inputs in, effects compared.
