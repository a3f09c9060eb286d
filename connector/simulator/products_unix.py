r"""Software found on macOS and Linux devices, in the API's spelling. Tables in the form that `catalogue` reads."""

from __future__ import annotations

from typing import Final

OPERATING_SYSTEMS: Final = r"""
apple macos | m100 | c40 | *1 12.7.5 12.7.6 @2024-09-16; *2 13.7.6 13.7.8 @2025-09-15; *4 14.7.8 14.8.1 14.8.2 14.8.3 @2026-09-30; *6 15.6.1 15.7.1 15.7.2 15.7.3 @2027-09-30; *4 26.0.1 26.1 26.2 |
red_hat enterprise_linux | l44 | c60 | *1 7.9 @2024-06-30; *4 8.8 8.10 @2029-05-31; *5 9.4 9.5 9.6 9.7 @2032-05-31; *1 10.0 10.1 @2035-05-31 |
canonical ubuntu_linux | l38 | c90 | *1 18.04 @2023-05-31; *2 20.04 @2025-05-31; *5 22.04 @2027-04-01; *4 24.04 @2029-05-31 |
debian debian_linux | l12 | c90 | *1 10.13 @2024-06-30; *3 11.10 11.11 @2026-08-31; *4 12.10 12.11 12.12 @2028-06-30; *2 13.0 13.1 13.2 @2030-06-30 |
suse linux_enterprise_server | l6 | c300 | *1 12.5 @2024-10-31; *3 15.5 15.6 15.7 @2031-07-31 |
"""
"""Every macOS and Linux device has one of these; the shares add up to 100 for each kind."""

MACOS: Final = r"""
apple safari | m100 | c40 | *1 16.6.1; *6 18.6 26.0.1 26.1 26.2 | APP/Safari.app
apple xcode | m28 | c50 | *2 16.2 16.4; *3 26.0.1 26.1.1 26.2 | APP/Xcode.app
apple pages | m60 | c90 | 14.3 14.4 14.5 | APP/Pages.app
apple numbers | m58 | c90 | 14.3 14.4 14.5 | APP/Numbers.app
apple keynote | m62 | c90 | 14.3 14.4 14.5 | APP/Keynote.app
apple imovie | m54 | c200 | 10.4.2 10.4.3 | APP/iMovie.app
apple garageband | m50 | c200 | 10.4.11 10.4.12 10.4.13 | APP/GarageBand.app
apple xprotect | m100 | c14 | 5318 5319 5321 5324 5325 | /Library/Apple/System/Library/CoreServices/XProtect.app
apple rosetta | m70 | c90 | 1.0.0.15.6 1.0.0.26.1 | /Library/Apple/usr/share/rosetta/rosetta
apple command_line_tools | m46 | c60 | 16.2.0.0.1 16.4.0.0.1 26.1.0.0.1 | /Library/Developer/CommandLineTools
apple remote_desktop | m20 | c300 | 3.9.8 3.9.9 | APP/Remote Desktop.app
google chrome | m90 | c10 | 142.0.7444.176 143.0.7499.41 143.0.7499.110 143.0.7499.147 | APP/Google Chrome.app
google drive | m26 | c30 | 116.0.5 117.0.0 117.0.1 | APP/Google Drive.app
google keystone | m88 | c60 | 1.3.18.134 1.3.19.146 | /Library/Google/GoogleSoftwareUpdate/GoogleSoftwareUpdate.bundle
mozilla firefox | m52 | c28 | 144.0.2 145.0.1 145.0.2 146.0 146.0.1 | APP/Firefox.app
microsoft edge_chromium-based | m60 | c24 | 142.0.3595.94 143.0.3650.66 143.0.3650.80 143.0.3650.96 | APP/Microsoft Edge.app
microsoft word | m88 | c28 | *2 16.78.3 @2025-10-14; *6 16.102.3 16.103.4 16.104.25121423 | APP/Microsoft Word.app
microsoft excel | m88 | c28 | *2 16.78.3 @2025-10-14; *6 16.102.3 16.103.4 16.104.25121423 | APP/Microsoft Excel.app
microsoft powerpoint | m88 | c28 | *2 16.78.3 @2025-10-14; *6 16.102.3 16.103.4 16.104.25121423 | APP/Microsoft PowerPoint.app
microsoft outlook | m84 | c28 | *2 16.78.3 @2025-10-14; *6 16.102.3 16.103.4 16.104.25121423 | APP/Microsoft Outlook.app
microsoft onenote | m80 | c28 | 16.102.3 16.103.4 16.104.25121423 | APP/Microsoft OneNote.app
microsoft onedrive | m86 | c21 | 25.199.1012 25.209.1026 25.222.1112 | APP/OneDrive.app
microsoft teams | m90 | c14 | 25290.302.4044.3989 25306.804.4102.7193 25332.1210.4188.1171 | APP/Microsoft Teams.app
microsoft defender | m98 | c30 | 101.25092.0005 101.25102.0016 101.25112.0008 | APP/Microsoft Defender.app
microsoft autoupdate | m94 | c40 | 4.79 4.80 4.81 4.82 | /Library/Application Support/Microsoft/MAU2.0/Microsoft AutoUpdate.app
microsoft company_portal | m80 | c45 | 5.2509.0 5.2510.0 5.2511.0 | APP/Company Portal.app
microsoft remote_desktop | m22 | c60 | 10.9.9 10.9.10 11.0.8 | APP/Microsoft Remote Desktop.app
microsoft visual_studio_code | m58 | c14 | 1.106.0 1.106.1 1.106.2 1.106.3 | APP/Visual Studio Code.app
microsoft visual_studio | m4 | c900 | 17.6.13 17.6.14 !2024-08-31 | APP/Visual Studio.app
microsoft powershell | m14 | c40 | *1 7.2.23 7.2.24 @2024-11-08; *3 7.4.12 7.4.13 @2026-11-10; *2 7.5.3 7.5.4 @2026-11-10 | /usr/local/microsoft/powershell/7/pwsh
microsoft .net | m16 | c30 sbs | *1 6.0.36 @2024-11-12; *4 8.0.20 8.0.21 8.0.22 @2026-11-10; *2 9.0.10 9.0.11 @2026-11-10 | /usr/local/share/dotnet/shared/Microsoft.NETCore.App/{v}
adobe acrobat_reader_dc | m54 | c35 | 25.001.20813 25.001.20844 25.001.20937 25.001.20982 | APP/Adobe Acrobat Reader.app
adobe creative_cloud | m40 | c30 | 6.6.1.2 6.7.0.278 6.8.0.821 | APP/Utilities/Adobe Creative Cloud/ACC/Creative Cloud.app
adobe photoshop_2025 | m24 | c40 | 26.9.0 26.10.0 26.11.0 | APP/Adobe Photoshop 2025/Adobe Photoshop 2025.app
adobe illustrator_2025 | m20 | c40 | 29.8.1 29.8.2 29.8.3 | APP/Adobe Illustrator 2025/Adobe Illustrator.app
adobe flash_player | m3 | c2000 | 32.0.0.445 32.0.0.465 !2020-12-31 | /Library/Internet Plug-Ins/Flash Player.plugin
zoom meetings | m76 | c20 | 6.5.12 6.6.0 6.6.6 6.6.10 | APP/zoom.us.app
slack slack | m70 | c14 | 4.46.101 4.47.59 4.47.65 4.47.69 | APP/Slack.app
cisco webex_teams | m26 | c30 | 45.8.0 45.10.0 45.11.0 | APP/Webex.app
cisco secure_client | m40 | c60 | 5.1.10.233 5.1.11.388 5.1.13.177 | APP/Cisco/Cisco Secure Client.app
docker docker_desktop | m36 | c21 | 4.50.0 4.51.0 4.52.0 4.53.0 | APP/Docker.app
jetbrains intellij_idea | m22 | c40 | 2025.1.6 2025.2.4 2025.2.5 | APP/IntelliJ IDEA.app
jetbrains pycharm | m16 | c40 | 2025.1.3 2025.2.4 2025.2.5 | APP/PyCharm.app
iterm2 iterm2 | m34 | c60 | 3.5.14 3.6.4 3.6.5 3.6.6 | APP/iTerm.app
postman postman | m28 | c21 | 11.68.5 11.70.0 11.72.5 11.75.1 | APP/Postman.app
videolan vlc_media_player | m34 | c200 | 3.0.20 3.0.21 | APP/VLC.app
spotify spotify | m30 | c14 | 1.2.76.298 1.2.77.358 1.2.78.418 | APP/Spotify.app
1password 1password | m38 | c21 | 8.11.16 8.11.18 8.11.20 8.11.22 | APP/1Password.app
dropbox dropbox | m20 | c21 | 236.4.5918 237.4.5655 238.4.6075 | APP/Dropbox.app
figma figma | m26 | c14 | 125.9.10 125.10.8 125.11.6 | APP/Figma.app
notion notion | m24 | c14 | 4.22.0 4.23.0 4.24.0 | APP/Notion.app
openai chatgpt | m22 | c14 | 1.2025.294 1.2025.322 1.2025.350 | APP/ChatGPT.app
jamf jamf_connect | m42 | c60 | 2.43.0 2.45.1 3.2.0 | APP/Jamf Connect.app
jamf self_service | m44 | c60 | 11.18.1 11.20.0 11.21.1 | APP/Self Service.app
oracle jdk | m18 | c90 sbs | *2 8.0.4610 8.0.4710; *3 17.0.16 17.0.17 @2029-09-30; *3 21.0.8 21.0.9 @2031-09-30 | /Library/Java/JavaVirtualMachines/jdk-{v}.jdk
python python | m90 | c60 sbs | *4 3.9.6 @2025-10-31; *2 3.11.13 3.11.14 @2027-10-31; *3 3.12.11 3.12.12 @2028-10-31; *3 3.13.9 3.13.10 3.13.11 @2029-10-31 | /Library/Frameworks/Python.framework/Versions/{v}/bin/python3
nodejs node.js | m44 | c30 sbs | *1 18.20.8 @2025-04-30; *3 20.19.4 20.19.5 20.19.6 @2026-04-30; *3 22.20.0 22.21.0 22.21.1 @2027-04-30 | /usr/local/bin/node
git git | m70 | c45 | 2.39.5 2.50.1 2.51.0 2.52.0 | /opt/homebrew/bin/git
openssl openssl | m80 | c60 sbs | *1 1.1.1w @2023-09-11; *3 3.4.1 3.4.3 @2026-10-22; *4 3.5.3 3.5.4 @2030-04-08; *3 3.6.0 @2026-11-01 | /opt/homebrew/Cellar/openssl@3/{v}/lib/libcrypto.3.dylib
haxx curl | m94 | c70 | 8.7.1 8.15.0 8.16.0 8.17.0 | /usr/bin/curl
vmware fusion | m10 | c120 | *1 12.2.5 @2023-03-17; *3 13.6.3 13.6.4 | APP/VMware Fusion.app
parallels desktop | m16 | c60 | *1 18.3.3 @2024-08-31; *3 20.4.1 26.1.1 26.1.2 | APP/Parallels Desktop.app
teamviewer teamviewer | m14 | c35 | 15.69.4 15.70.4 15.72.6 | APP/TeamViewer.app
citrix workspace | m18 | c60 | 25.03.0 25.05.10 25.08.0 | APP/Citrix Workspace.app
zscaler client_connector | m34 | c60 | 4.3.0.315 4.5.2.69 4.6.0.121 | APP/Zscaler/Zscaler.app
paloaltonetworks globalprotect | m22 | c60 | 6.2.8 6.3.2 6.3.3 | APP/GlobalProtect.app
logitech options+ | m26 | c45 | 1.90.719 1.94.845 1.98.1221 | APP/logioptionsplus.app
"""
"""Applications on macOS."""

LINUX: Final = r"""
linux linux_kernel | l100 | c30 keep | *2 0:3.10.0-1160.[118].1.el7 @2024-06-30; *3 0:4.18.0-553.[74].1.el8_10 0:4.18.0-553.[85].1.el8_10; *5 0:5.14.0-427.[13].1.el9_4 0:5.14.0-570.[62].1.el9_6; *4 5.15.0-[161].171 5.15.0-[163].173; *3 6.8.0-[87].88 6.8.0-[90].91 | /boot/vmlinuz-{v}
gnu glibc | l100 | c120 | *2 0:2.28-[251].el8_10.25; *4 0:2.34-[168].el9_6.24; *4 2.35-0ubuntu3.[11]; *3 2.39-0ubuntu8.[6] | /usr/lib64/libc.so.6
gnu bash | l100 | c300 | *3 0:4.4.20-[5].el8; *4 0:5.1.8-[9].el9; *4 5.1-6ubuntu1.[1] | /usr/bin/bash
gnu coreutils | l100 | c300 | *3 0:8.30-[15].el8; *4 0:8.32-[39].el9; *4 8.32-4.1ubuntu1.[2] | /usr/bin/ls
gnu tar | l98 | c300 | *3 2:1.30-[9].el8; *4 2:1.34-[7].el9; *4 1.34+dfsg-1ubuntu0.1.22.04.[2] | /usr/bin/tar
gnu gzip | l98 | c300 | 0:1.9-[13].el8_5 0:1.12-[1].el9; 1.10-4ubuntu4.[1] | /usr/bin/gzip
gnu grep | l98 | c400 | 0:3.1-[6].el8; 0:3.6-[5].el9; 3.7-1build[1] | /usr/bin/grep
gnu sed | l98 | c400 | 0:4.5-[5].el8; 0:4.8-[9].el9; 4.8-1ubuntu[2] | /usr/bin/sed
gnu gawk | l92 | c400 | 0:4.2.1-[4].el8; 0:5.1.0-[6].el9; 5.1.0-1ubuntu0.[1] | /usr/bin/gawk
gnu findutils | l96 | c400 | 1:4.6.0-[23].el8_10; 1:4.8.0-[7].el9; 4.8.0-1ubuntu[3] | /usr/bin/find
gnu wget | l88 | c200 | 0:1.19.5-[12].el8_10; 0:1.21.1-[8].el9_4; 1.21.2-2ubuntu1.[1] | /usr/bin/wget
gnu emacs | l18 | c200 | 1:26.1-[15].el8_10; 1:27.2-[14].el9_6.2 | /usr/bin/emacs
gnu binutils | l48 | c150 | 0:2.30-[125].el8_10; 0:2.35.2-[63].el9; 2.38-4ubuntu2.[10] | /usr/bin/ld
gnu gcc | l36 | c200 | 0:8.5.0-[28].el8_10; 0:11.5.0-[5].el9_5; 4:11.2.0-1ubuntu[1] | /usr/bin/gcc
gnu gdb | l14 | c300 | 0:8.2-[20].el8; 0:14.2-[4].el9; 12.1-0ubuntu1~22.04.[2] | /usr/bin/gdb
gnu gnutls | l92 | c150 | 0:3.6.16-[8].el8_10.4; 0:3.8.3-[6].el9_6.2; 3.7.3-4ubuntu1.[7] | /usr/lib64/libgnutls.so.30
gnu cpio | l84 | c400 | 0:2.12-[11].el8; 0:2.13-[16].el9 | /usr/bin/cpio
gnu less | l94 | c300 | 0:530-[3].el8_10; 0:590-[5].el9; 590-1ubuntu0.22.04.[3] | /usr/bin/less
gnu nano | l56 | c400 | 0:2.9.8-[3].el8_10; 0:5.6.1-[6].el9; 6.2-[1] | /usr/bin/nano
openssl openssl | l100 | c60 | *2 1:1.0.2k-[26].el7_9 @2019-12-31; *3 1:1.1.1k-[14].el8_6; *5 1:3.0.7-[27].el9 1:3.2.2-[6].el9_5.1 1:3.5.1-[4].el9_7; *4 3.0.2-0ubuntu1.[20]; *3 3.0.13-0ubuntu3.[6] | /usr/lib64/libcrypto.so.3; /usr/bin/openssl
openbsd openssh | l100 | c90 | *3 0:8.0p1-[26].el8_10; *5 0:8.7p1-[45].el9; *4 1:8.9p1-3ubuntu0.[13]; *3 1:9.6p1-3ubuntu13.[14] | /usr/sbin/sshd
haxx curl | l100 | c70 | *3 0:7.61.1-[34].el8_10.8; *5 0:7.76.1-[34].el9; *4 7.81.0-1ubuntu1.[21] | /usr/bin/curl
systemd systemd | l100 | c120 | *3 0:239-[82].el8_10.8; *5 0:252-[55].el9_7.7; *4 249.11-0ubuntu3.[17] | /usr/lib/systemd/systemd
sudo_project sudo | l100 | c120 | *3 0:1.9.5p2-[1].el8_10.2; *5 0:1.9.5p2-[10].el9_6.2; *4 1.9.9-1ubuntu2.[5] | /usr/bin/sudo
vim vim | l96 | c60 | *3 2:8.0.1763-[22].el8_10; *5 2:8.2.2637-[23].el9; *4 2:8.2.3995-1ubuntu2.[24] | /usr/bin/vim
python python | l100 | c60 sbs | *3 0:3.6.8-[70].el8_10 @2021-12-23; *5 0:3.9.21-[2].el9_6.1 @2025-10-31; *4 3.10.12-1~22.04.[11] @2026-10-31; *2 3.12.3-1ubuntu0.[9] @2028-10-31; *2 0:2.7.18-[17].module_el8 @2020-01-01 | /usr/bin/python3; /usr/lib64/libpython3.so
perl perl | l98 | c300 | 4:5.26.3-[423].el8_10; 4:5.32.1-[481].el9_6; 5.34.0-3ubuntu1.[5] | /usr/bin/perl
ruby-lang ruby | l14 | c100 | *1 0:2.5.9-[114].module_el8 @2021-04-05; *2 0:3.0.7-[165].el9_5 @2024-04-23; *2 0:3.3.8-[10].module_el9 @2027-03-31 | /usr/bin/ruby
php php | l12 | c40 | *2 0:7.4.33-[2].module_el8 @2022-11-28; *2 0:8.0.30-[3].el9_6 @2023-11-26; *3 8.1.2-1ubuntu2.[22] @2025-12-31; *2 0:8.2.28-[1].module_el9 @2026-12-31 | /usr/bin/php
nodejs node.js | l16 | c40 | *1 1:16.20.2-[8].el9_4 @2023-09-11; *2 1:18.20.8-[1].module_el9 @2025-04-30; *3 1:20.19.5-[1].module_el9 @2026-04-30; *2 1:22.19.0-[2].module_el9 @2027-04-30 | /usr/bin/node
redhat openjdk | l24 | c90 sbs | *3 1:1.8.0.462.b08-[2].el8 1:1.8.0.472.b08-[1].el8 @2026-11-30; *3 1:11.0.25.0.9-[7].el9 @2024-10-31; *4 1:17.0.16.0.8-[2].el9 1:17.0.17.0.10-[1].el9 @2027-12-31 | /usr/lib/jvm/jre/bin/java
apache http_server | l28 | c90 | *1 0:2.4.6-[99].el7_9.1; *2 0:2.4.37-[65].module_el8; *4 0:2.4.62-[7].el9; *3 2.4.52-1ubuntu4.[16] | /usr/sbin/httpd
apache tomcat | l12 | c60 | *1 1:7.0.76-[16].el7_9 @2021-03-31; *3 1:9.0.87-[6].el9; *2 10.1.16-[1] | /usr/share/tomcat/lib/catalina.jar
apache log4j | l14 | c300 | *2 1.2.17 !2015-08-05; *2 2.17.1 2.17.2; *2 2.25.1 2.25.2 | /opt/app/lib/log4j-core-{v}.jar
nginx nginx | l26 | c60 | *2 1:1.14.1-[9].module_el8; *4 2:1.20.1-[22].el9_6; *3 1.18.0-6ubuntu14.[7] | /usr/sbin/nginx
mariadb mariadb | l14 | c90 | *2 3:10.3.39-[1].module_el8 @2023-05-25; *3 3:10.5.29-[3].el9_7 @2025-06-24; *3 1:10.6.22-0ubuntu0.22.04.[1] @2026-07-06 | /usr/libexec/mariadbd
mysql mysql_server | l10 | c90 | *1 5.7.43 5.7.44 @2023-10-31; *4 0:8.0.43-[1].el9_6 @2026-04-30; *2 8.4.6 8.4.7 @2032-04-30 | /usr/sbin/mysqld
postgresql postgresql | l14 | c90 | *1 0:10.23-[4].module_el8 @2022-11-10; *3 0:13.22-[1].el9_6 @2025-11-13; *3 14.19-0ubuntu0.22.04.[1] @2026-11-12; *2 0:16.10-[1].module_el9 @2028-11-09 | /usr/bin/postgres
redis redis | l10 | c90 | *2 0:5.0.3-[5].module_el8; *3 0:6.2.20-[1].el9_6; *2 6.0.16-1ubuntu1.[1] | /usr/bin/redis-server
docker docker | l24 | c40 | *1 3:20.10.24-[3].el8 @2023-12-10; *4 28.3.3 28.4.0 28.5.1 28.5.2; *2 29.0.4 29.1.2 29.1.3 | /usr/bin/dockerd
linuxfoundation containerd | l28 | c60 | 1.7.27 1.7.28 1.7.29; 2.1.4 2.1.5 2.2.0 | /usr/bin/containerd
linuxfoundation runc | l28 | c60 | 1.2.6 1.3.0 1.3.2 1.3.3 | /usr/bin/runc
kubernetes kubernetes | l12 | c40 | *1 1.29.14 @2025-02-28; *2 1.31.11 1.31.13 @2025-11-11; *3 1.32.9 1.32.10 @2026-02-28; *3 1.33.5 1.33.6 @2026-06-28 | /usr/bin/kubelet
git-scm git | l74 | c60 | 0:2.43.7-[1].el8_10; 0:2.47.3-[1].el9_6; 1:2.34.1-1ubuntu1.[15] | /usr/bin/git
samba samba | l30 | c60 | 0:4.19.4-[9].el8_10; 0:4.21.3-[13].el9_6; 2:4.15.13+dfsg-0ubuntu1.[10] | /usr/sbin/smbd
isc bind | l86 | c60 | 32:9.11.36-[16].el8_10.4; 32:9.16.23-[31].el9_6; 1:9.18.39-0ubuntu0.22.04.[2] | /usr/bin/dig
isc dhcp | l30 | c300 | 12:4.3.6-[50].el8_10; 12:4.4.2-[19].b1.el9; 4.4.1-2.3ubuntu2.[4] | /usr/sbin/dhclient
postfix postfix | l34 | c200 | 2:3.5.8-[7].el8; 2:3.5.25-[1].el9; 3.6.4-1ubuntu1.[3] | /usr/sbin/postfix
exim exim | l6 | c120 | 4.95-4ubuntu2.[7]; 4.96-15+deb12u[7] | /usr/sbin/exim4
dovecot dovecot | l6 | c120 | 1:2.3.16-[6].el8_10; 1:2.3.16-[15].el9 | /usr/sbin/dovecot
squid-cache squid | l6 | c90 | 7:4.15-[10].module_el8; 7:5.5-[22].el9_7; 5.7-0ubuntu0.22.04.[4] | /usr/sbin/squid
haproxy haproxy | l10 | c90 | 0:1.8.27-[5].el8; 0:2.4.22-[4].el9; 2.4.29-0ubuntu0.22.04.[1] | /usr/sbin/haproxy
xmlsoft libxml2 | l100 | c90 | 0:2.9.7-[21].el8_10.3; 0:2.9.13-[12].el9_6; 2.9.13+dfsg-1ubuntu0.[9] | /usr/lib64/libxml2.so.2
xmlsoft libxslt | l80 | c120 | 0:1.1.32-[6].3.el8_10; 0:1.1.34-[13].el9_6; 1.1.34-4ubuntu0.22.04.[5] | /usr/lib64/libxslt.so.1
sqlite sqlite | l100 | c150 | 0:3.26.0-[20].el8_10; 0:3.34.1-[8].el9_6; 3.37.2-2ubuntu0.[5] | /usr/lib64/libsqlite3.so.0
zlib zlib | l100 | c300 | 0:1.2.11-[25].el8; 0:1.2.11-[40].el9; 1:1.2.11.dfsg-2ubuntu9.[2] | /usr/lib64/libz.so.1
tukaani xz | l98 | c300 | 0:5.2.4-[4].el8_6; 0:5.2.5-[8].el9_0; 5.2.5-2ubuntu1.[1] | /usr/bin/xz
bzip2 bzip2 | l96 | c400 | 0:1.0.6-[28].el8_10; 0:1.0.8-[10].el9_5; 1.0.8-5build[1] | /usr/bin/bzip2
facebook zstandard | l80 | c400 | 0:1.4.4-[1].el8; 0:1.5.5-[1].el9; 1.4.8+dfsg-3build[1] | /usr/lib64/libzstd.so.1
libexpat_project libexpat | l98 | c90 | 0:2.2.5-[17].el8_10; 0:2.5.0-[5].el9_7; 2.4.7-1ubuntu0.[6] | /usr/lib64/libexpat.so.1
libpng libpng | l74 | c200 | 2:1.6.34-[9].el8_10; 2:1.6.37-[12].el9; 1.6.37-3build[5] | /usr/lib64/libpng16.so.16
libtiff libtiff | l58 | c90 | 0:4.0.9-[36].el8_10; 0:4.4.0-[15].el9; 4.3.0-6ubuntu0.[12] | /usr/lib64/libtiff.so.5
freetype freetype | l66 | c120 | 0:2.9.1-[10].el8_10; 0:2.10.4-[11].el9; 2.11.1+dfsg-1ubuntu0.[3] | /usr/lib64/libfreetype.so.6
nghttp2 nghttp2 | l84 | c150 | 0:1.33.0-[6].el8_10.1; 0:1.43.0-[6].el9; 1.43.0-1ubuntu0.[2] | /usr/lib64/libnghttp2.so.14
libssh libssh | l86 | c120 | 0:0.9.6-[15].el8_10; 0:0.10.4-[15].el9_7; 0.9.6-2ubuntu0.22.04.[4] | /usr/lib64/libssh.so.4
mit kerberos_5 | l96 | c120 | 0:1.18.2-[32].el8_10; 0:1.21.1-[8].el9_6; 1.19.2-2ubuntu0.[7] | /usr/lib64/libkrb5.so.3
openldap openldap | l90 | c150 | 0:2.4.46-[21].el8_10; 0:2.6.8-[4].el9; 2.5.19+dfsg-0ubuntu0.22.04.[1] | /usr/lib64/libldap.so.2
gnupg gnupg | l96 | c200 | 0:2.2.20-[3].el8_6; 0:2.3.3-[4].el9; 2.2.27-3ubuntu2.[4] | /usr/bin/gpg
gnupg libgcrypt | l92 | c200 | 0:1.8.5-[7].el8_6; 0:1.10.0-[11].el9; 1.9.4-3ubuntu3.[1] | /usr/lib64/libgcrypt.so.20
polkit_project polkit | l90 | c200 | 0:0.115-[15].el8_10.2; 0:0.117-[14].el9; 0.105-[33] | /usr/lib/polkit-1/polkitd
dbus_project dbus | l98 | c200 | 1:1.12.8-[27].el8_10; 1:1.12.20-[8].el9; 1.12.20-2ubuntu4.[1] | /usr/bin/dbus-daemon
gnome glib | l96 | c120 | 0:2.56.4-[166].el8_10; 0:2.68.4-[18].el9_7; 2.72.4-0ubuntu2.[6] | /usr/lib64/libglib-2.0.so.0
avahi avahi | l50 | c120 | 0:0.7-[27].el8_10.1; 0:0.8-[22].el9_6; 0.8-5ubuntu5.[3] | /usr/sbin/avahi-daemon
openprinting cups | l46 | c120 | 1:2.2.6-[63].el8_10; 1:2.3.3op2-[33].el9; 2.4.1op1-1ubuntu4.[12] | /usr/sbin/cupsd
rsync_project rsync | l86 | c120 | 0:3.1.3-[23].el8_10; 0:3.2.5-[3].el9; 3.2.7-0ubuntu0.22.04.[4] | /usr/bin/rsync
tcpdump tcpdump | l52 | c200 | 14:4.9.3-[5].el8; 14:4.99.0-[9].el9; 4.99.1-3ubuntu0.[2] | /usr/sbin/tcpdump
tcpdump libpcap | l60 | c200 | 14:1.9.1-[5].el8; 14:1.10.0-[4].el9; 1.10.1-4ubuntu1.22.04.[1] | /usr/lib64/libpcap.so.1
chrony_project chrony | l80 | c200 | 0:4.5-[2].el8_10; 0:4.6.1-[2].el9; 4.2-2ubuntu[2] | /usr/sbin/chronyd
rsyslog rsyslog | l92 | c150 | 0:8.2102.0-[15].el8_10.1; 0:8.2310.0-[4].el9; 8.2112.0-2ubuntu2.[2] | /usr/sbin/rsyslogd
linux-pam linux-pam | l100 | c150 | 0:1.3.1-[38].el8_10; 0:1.5.1-[26].el9_6; 1.4.0-11ubuntu2.[6] | /usr/lib64/libpam.so.0
util-linux util-linux | l98 | c200 | 0:2.32.1-[48].el8_10; 0:2.37.4-[21].el9; 2.37.2-4ubuntu3.[4] | /usr/bin/mount
kernel util-linux_libblkid | l70 | c300 | 0:2.32.1-[48].el8_10; 0:2.37.4-[21].el9 | /usr/lib64/libblkid.so.1
redhat policycoreutils | l50 | c200 | 0:2.9-[26].el8_10; 0:3.6-[3].el9 | /usr/sbin/setsebool
redhat firewalld | l48 | c200 | 0:0.9.11-[10].el8_10; 0:1.3.4-[15].el9_6 | /usr/sbin/firewalld
redhat sssd | l62 | c120 | 0:2.9.4-[5].el8_10.3; 0:2.9.7-[4].el9_7.1; 2.6.3-1ubuntu3.[5] | /usr/sbin/sssd
redhat dnf | l48 | c200 | 0:4.7.0-[21].el8_10; 0:4.14.0-[31].el9 | /usr/bin/dnf
redhat rpm | l50 | c200 | 0:4.14.3-[32].el8_10; 0:4.16.1.3-[39].el9 | /usr/bin/rpm
redhat podman | l22 | c60 | 4:4.9.4-[23].module_el8; 5:5.4.0-[13].el9_6 | /usr/bin/podman
redhat ansible | l10 | c60 | *1 0:2.9.27-[1].el8ae !2022-05-23; *3 1:2.14.18-[1].el9 | /usr/bin/ansible
debian apt | l50 | c200 | 2.4.13 2.4.14; 2.7.14build[2] | /usr/bin/apt
debian dpkg | l50 | c300 | 1.21.1ubuntu2.[6]; 1.22.6ubuntu6.[5] | /usr/bin/dpkg
canonical snapd | l40 | c60 | 2.67.1+22.04 2.68.5+ubuntu22.04.1 2.71+ubuntu22.04.[1] | /usr/lib/snapd/snapd
canonical cloud-init | l42 | c90 | 24.4.1-0ubuntu0~22.04.[3] 25.1.4-0ubuntu0~22.04.[1] | /usr/bin/cloud-init
canonical netplan | l40 | c200 | 0.106.1-7ubuntu0.22.04.[4]; 1.1.2-2~ubuntu24.04.[2] | /usr/sbin/netplan
microsoft defender_for_endpoint | l97 | c30 | 101.25082.0003 101.25092.0002 101.25102.0003 | /opt/microsoft/mdatp/sbin/wdavdaemon
microsoft azure_monitor_agent | l40 | c40 | 1.37.0 1.38.1 1.39.0 | /opt/microsoft/azuremonitoragent/bin/mdsd
microsoft azure_connected_machine_agent | l34 | c40 | 1.56.03167.761 1.57.03211.801 1.58.03228.812 | /opt/azcmagent/bin/azcmagent
microsoft walinuxagent | l40 | c120 | 2.9.1.1 2.11.1.4 2.14.0.1 | /usr/sbin/waagent
microsoft .net | l14 | c40 | *1 6.0.36 @2024-11-12; *4 8.0.20 8.0.21 8.0.22 @2026-11-10; *2 9.0.10 9.0.11 @2026-11-10 | /usr/share/dotnet/shared/Microsoft.NETCore.App/{v}
splunk universal_forwarder | l36 | c60 | *1 8.2.12 @2023-09-30; *2 9.1.10 @2025-06-28; *4 9.4.5 9.4.6 9.4.7 @2026-12-16 | /opt/splunkforwarder/bin/splunkd
elastic elasticsearch | l8 | c40 | *2 7.17.28 7.17.29 @2026-01-15; *3 8.19.5 8.19.7 8.19.8; *2 9.1.7 9.2.1 9.2.2 | /usr/share/elasticsearch/bin/elasticsearch
grafana grafana | l8 | c40 | *1 10.4.19 @2025-06-24; *3 11.6.5 11.6.8 @2026-06-25; *3 12.2.1 12.3.0 12.3.1 | /usr/sbin/grafana
hashicorp terraform | l8 | c40 | 1.12.2 1.13.5 1.14.1 1.14.3 | /usr/bin/terraform
hashicorp vault | l5 | c60 | *2 1.18.5 @2026-03-31; *3 1.20.4 1.21.0 1.21.1 | /usr/bin/vault
jenkins jenkins | l7 | c28 | 2.516.3 2.528.1 2.528.2 2.528.3 | /usr/share/java/jenkins.war
qualys cloud_agent | l34 | c60 | 6.3.0.45 7.0.0.29 7.2.0.31 | /usr/local/qualys/cloud-agent/bin/qualys-cloud-agent
tenable nessus_agent | l22 | c60 | 10.8.5 10.9.1 11.0.1 11.0.3 | /opt/nessus_agent/sbin/nessusd
vmware open-vm-tools | l58 | c120 | 0:12.3.5-[2].el8; 0:12.5.0-[1].el9_6.2; 2:12.3.5-3~ubuntu0.22.04.[3] | /usr/bin/vmtoolsd
"""
"""Packages and applications on Linux: epochs where the package manager has them."""
