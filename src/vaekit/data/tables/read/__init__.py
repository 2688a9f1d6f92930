"""Read CSV files, Parquet files and data frames into cells."""
