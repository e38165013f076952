"""Make the sample: radiographs, CT and MR with lesions whose place is known to the pixel."""
