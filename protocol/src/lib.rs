//! hive-protocol
