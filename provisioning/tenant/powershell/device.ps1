
# The sign-in by device code. Who signs in is asked for consent, or an
# administrator is.
Update-MgApplication -ApplicationId $app.Id -IsFallbackPublicClient
