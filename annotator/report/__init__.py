"""Words, pictures and pages about results: audits, fusions, evaluations, comparisons."""
