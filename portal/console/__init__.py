"""What the operator's console reads and rehearses: over all customers, and over one."""
