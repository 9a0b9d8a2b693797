"""What a champion is compared with: rivals, each tuned with as many trials as the champion."""
