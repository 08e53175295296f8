package settings

// Direct is delivery to the mail hosts of each recipient's domain.
type Direct struct {
	DKIM DKIM `toml:"dkim"`
}
