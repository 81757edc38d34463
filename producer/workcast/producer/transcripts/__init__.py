"""Sessions that workcast did not start: what agents keep of them on disk, as events."""
