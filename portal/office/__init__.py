"""What the operator's pages read and rehearse: over all customers, and over one."""
