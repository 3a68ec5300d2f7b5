"""What tests share and what makes their inputs; no test is here."""
