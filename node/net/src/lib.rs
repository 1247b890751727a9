//! hive-net
