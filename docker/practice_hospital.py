"""Makes one small synthetic hospital: ``python practice_hospital.py NAME`` in a client container.

Writes films and table below /archive, and founds the site in /site with the profile that reads them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from client.site.folder import create_site
from client.site.profile import SiteProfile
from server.demo.loopback import small_sites
from server.synthetic.folder import write_hospital
from server.synthetic.hospitals import intake_profile

SEED = 7

if __name__ == "__main__":
    [site] = [site for site in small_sites() if site.name == sys.argv[1]]
    write_hospital(Path("/archive"), site, SEED)
    profile = SiteProfile.model_validate(intake_profile(site))
    create_site(
        Path("/site"), name=site.name, declared_patients=site.n_patients * 7 // 10, profile=profile
    )
