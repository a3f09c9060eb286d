r"""Third-party software found on Windows devices, in the API's spelling. A table in the form that `catalogue` reads."""

from __future__ import annotations

from typing import Final

DESKTOP: Final = r"""
google chrome | w88 s36 | c10 keep | 142.0.7444.176 143.0.7499.41 143.0.7499.110 143.0.7499.147 | PF\Google\Chrome\Application\chrome.exe; PF\Google\Chrome\Application\{v}\chrome.dll; HKUN\Google Chrome
google drive | w14 | c30 | 116.0.5.0 117.0.0.0 117.0.1.0 | PF\Google\Drive File Stream\{v}\GoogleDriveFS.exe; HKUN\{6BBAE539-2232-434A-A4E5-9A33560C6283}
google update | w70 s30 | c40 | 1.3.36.372 1.3.36.392 1.3.36.402 | PF86\Google\Update\GoogleUpdate.exe
mozilla firefox | w46 s12 | c28 | 144.0.2 145.0.1 145.0.2 146.0 146.0.1 | PF\Mozilla Firefox\firefox.exe; HKUN\Mozilla Firefox 146.0 (x64 en-US)
mozilla firefox_esr | w12 s8 | c28 | *1 115.28.0 115.29.0 115.30.0 @2026-03-24; *3 140.4.0 140.5.0 140.6.0 @2026-09-15 | PF\Mozilla Firefox\firefox.exe; HKUN\Mozilla Firefox 140.6.0 ESR (x64 en-US)
mozilla thunderbird | w8 | c28 | 144.0.1 145.0 146.0 146.0.1 | PF\Mozilla Thunderbird\thunderbird.exe; HKUN\Mozilla Thunderbird 146.0 (x64 en-US)
adobe acrobat_reader_dc | w80 s10 | c35 | 25.001.20813 25.001.20844 25.001.20937 25.001.20982 | PF\Adobe\Acrobat DC\Acrobat\Acrobat.exe; PF86\Adobe\Acrobat Reader DC\Reader\AcroRd32.exe; HKUN\{AC76BA86-1033-1033-7760-BC15014EA700}
adobe acrobat_dc | w22 | c35 | 25.001.20813 25.001.20844 25.001.20937 25.001.20982 | PF\Adobe\Acrobat DC\Acrobat\Acrobat.exe; HKUN\{AC76BA86-1033-FFFF-7760-BC15014EA700}
adobe acrobat_2017 | w4 | c900 | 17.011.30249 17.012.30262 !2022-06-06 | PF86\Adobe\Acrobat 2017\Acrobat\Acrobat.exe; HKUN32\{AC76BA86-1033-FFFF-7760-0E1108756300}
adobe acrobat_2020 | w6 | c60 | 20.005.30793 20.005.30803 20.005.30838 !2025-11-30 | PF86\Adobe\Acrobat 2020\Acrobat\Acrobat.exe; HKUN32\{AC76BA86-1033-FFFF-7760-E1401753200}
adobe flash_player | w7 s4 | c2000 | 32.0.0.387 32.0.0.445 32.0.0.465 !2020-12-31 | SYS\Macromed\Flash\Flash64_32_0_0_465.ocx; HKUN32\Adobe Flash Player NPAPI
adobe air | w8 | c900 | 32.0.0.125 33.1.1.932 !2020-12-31 | PF86\Common Files\Adobe AIR\Versions\1.0\Adobe AIR.dll; HKUN32\Adobe AIR
adobe creative_cloud | w14 | c30 | 6.6.1.2 6.7.0.278 6.8.0.821 | PF\Adobe\Adobe Creative Cloud\ACC\Creative Cloud.exe; HKUN32\Adobe Creative Cloud
adobe photoshop_2024 | w5 | c60 | 25.12.3 25.12.4 | PF\Adobe\Adobe Photoshop 2024\Photoshop.exe; HKUN32\PHSP_25_12
adobe illustrator_2025 | w4 | c40 | 29.8.2 29.8.3 | PF\Adobe\Adobe Illustrator 2025\Support Files\Contents\Windows\Illustrator.exe; HKUN32\ILST_29_8
7-zip 7-zip | w62 s54 | c150 | *1 19.0.0.0; *3 22.1.0.0; *3 23.1.0.0; *6 24.9.0.0 25.0.0.0 25.1.0.0 | PF\7-Zip\7z.exe; PF\7-Zip\7zFM.exe; HKUN\7-Zip
rarlab winrar | w18 s6 | c150 | *2 6.24.0; *3 7.1.0 7.11.0 7.13.0 | PF\WinRAR\WinRAR.exe; HKUN\WinRAR archiver
notepad-plus-plus notepad++ | w52 s48 | c40 | 8.7.9 8.8.2 8.8.5 8.8.7 8.8.8 | PF\Notepad++\notepad++.exe; HKUN\Notepad++
videolan vlc_media_player | w30 s4 | c200 | *1 2.2.8; *5 3.0.20 3.0.21 | PF\VideoLAN\VLC\vlc.exe; HKUN\VLC media player
zoom meetings | w54 | c20 keep | 6.5.12.10247 6.6.0.15621 6.6.6.19875 6.6.10.24272 | ROAMING\Zoom\bin\Zoom.exe; HKUSER\ZoomUMX
cisco webex_meetings | w22 | c40 | 43.11.0.28072 45.4.0.32158 45.6.0.32551 | LOCAL\WebEx\WebEx64\Meetings\atmgr.exe; HKUSER\ActiveTouchMeetingClient
cisco webex_teams | w20 | c30 | 45.8.0.32875 45.10.0.33234 45.11.0.33490 | PF\Cisco Spark\CiscoCollabHost.exe; HKUN\{5B0C2E3A-7F4E-4A5D-9E6C-3B2A1D0F9E88}
cisco anyconnect_secure_mobility_client | w16 | c200 | 4.10.07073 4.10.08029 !2024-03-31 | PF86\Cisco\Cisco AnyConnect Secure Mobility Client\vpnui.exe; HKUN32\Cisco AnyConnect Secure Mobility Client
cisco secure_client | w34 | c60 | 5.1.10.233 5.1.11.388 5.1.13.177 | PF86\Cisco\Cisco Secure Client\UI\csc_ui.exe; HKUN32\Cisco Secure Client - AnyConnect VPN
slack slack | w20 | c14 | 4.46.101 4.47.59 4.47.65 4.47.69 | LOCAL\slack\slack.exe; HKUSER\slack
skype skype | w8 | c900 | 8.134.0.202 8.138.0.209 8.150.0.119 !2025-05-05 | PF86\Microsoft\Skype for Desktop\Skype.exe; HKUN32\Skype_is1
teamviewer teamviewer | w18 s14 | c35 | *1 14.7.48809 @2024-01-31; *5 15.69.4 15.70.4 15.72.6 15.73.5 | PF\TeamViewer\TeamViewer.exe; HKUN\TeamViewer
anydesk anydesk | w8 s5 | c60 | 9.5.10 9.6.3 9.6.7 | PF86\AnyDesk\AnyDesk.exe; HKUN32\AnyDesk
citrix workspace | w24 s3 | c60 | 25.3.10.69 25.7.0.56 25.7.10.72 | PF86\Citrix\ICA Client\SelfServicePlugin\SelfService.exe; HKUN32\CitrixOnlinePluginPackWeb
citrix receiver | w4 | c2000 | 14.9.6000.22 14.12.0.18020 !2018-08-13 | PF86\Citrix\ICA Client\Receiver\Receiver.exe; HKUN32\CitrixOnlinePluginPackWeb
vmware horizon_client | w10 | c90 | 8.13.0.8174 8.14.0.9986 8.15.0.12345 | PF\VMware\VMware Horizon View Client\vmware-view.exe; HKUN\{2A9B9B0D-6A85-4D9F-8E25-5E1B8B7A6E21}
vmware tools | w3 s74 | c100 | 12.4.5.23787 12.5.2.24697 12.5.4.24964 13.0.5.24915 | PF\VMware\VMware Tools\vmtoolsd.exe; HKUN\{F32C4E7B-2BF8-4788-8408-824C6896E1BB}
vmware workstation | w5 | c120 | *2 16.2.5 @2023-09-14; *4 17.5.2 17.6.3 17.6.4 | PF86\VMware\VMware Workstation\vmware.exe; HKUN\{A7E5B1C3-0D73-4DC1-9A7D-CA8B9B8B0D1F}
oracle vm_virtualbox | w6 s1 | c60 | *1 6.1.50 @2024-01-31; *4 7.1.12 7.1.14; *2 7.2.2 7.2.4 | PF\Oracle\VirtualBox\VirtualBox.exe; HKUN\{C2E4AD4E-4A1B-47D6-9A6C-0D0B9CF2F0A7}
oracle jre | w26 s24 | c90 sbs keep | *1 7.0.800 @2022-07-31; *7 8.0.4510 8.0.4610 8.0.4710 8.0.4720 | PF\Java\jre-1.8\bin\java.exe; PF86\Java\jre-1.8\bin\javaw.exe; HKUN\{77924AE4-039E-4CA4-87B4-2F64180451F0}
oracle jdk | w9 s16 | c90 sbs | *3 8.0.4610 8.0.4710 8.0.4720; *4 11.0.27.0 11.0.28.0 11.0.29.0 @2032-01-31; *4 17.0.15.0 17.0.16.0 17.0.17.0 @2029-09-30; *3 21.0.7.0 21.0.8.0 21.0.9.0 @2031-09-30 | PF\Java\jdk-{v}\bin\java.exe; HKUN\Java(TM) SE Development Kit {v} (64-bit)
eclipse temurin | w10 s18 | c90 sbs | *3 8.0.4620.8 8.0.4720.8 @2030-12-31; *3 11.0.28.6 11.0.29.7 @2027-10-31; *4 17.0.16.8 17.0.17.10 @2027-10-31; *4 21.0.8.9 21.0.9.10 @2029-12-31 | PF\Eclipse Adoptium\jdk-{v}-hotspot\bin\java.exe; HKUN\{B8F6B7C4-5A14-4E27-9F8B-1F9B73B0B2D4}
python python | w26 s14 | c60 sbs | *1 2.7.16 2.7.18 @2020-01-01; *1 3.7.9 3.7.17 @2023-06-27; *2 3.8.10 3.8.20 @2024-10-07; *2 3.9.13 3.9.24 3.9.25 @2025-10-31; *3 3.10.18 3.10.19 @2026-10-31; *4 3.11.13 3.11.14 @2027-10-31; *4 3.12.11 3.12.12 @2028-10-31; *3 3.13.8 3.13.9 3.13.10 3.13.11 @2029-10-31 | LOCAL\Programs\Python\Python312\python.exe; PF\Python312\python.exe; HKUSER\{3E3D5B5D-5F5C-4E84-9F9E-2C9A5E8F2D44}
nodejs node.js | w14 s14 | c30 | *1 16.20.2 @2023-09-11; *2 18.20.7 18.20.8 @2025-04-30; *3 20.19.4 20.19.5 20.19.6 @2026-04-30; *4 22.19.0 22.20.0 22.21.0 22.21.1 @2027-04-30; *3 24.10.0 24.11.0 24.11.1 @2028-04-30 | PF\nodejs\node.exe; HKUN\{5E0D2B6A-0F1B-4A4E-9D0A-7C4B1F5E9B31}
git git | w24 s18 | c45 | 2.49.0 2.50.1 2.51.0 2.51.2 2.52.0 | PF\Git\cmd\git.exe; PF\Git\bin\bash.exe; HKUN\Git_is1
tortoisesvn tortoisesvn | w5 | c200 | 1.14.7.29687 1.14.8.29723 1.14.9.29743 | PF\TortoiseSVN\bin\TortoiseProc.exe; HKUN\{3C3C0B3D-6A31-4C6B-8C0D-0A0B4D5E9F11}
jetbrains intellij_idea | w7 | c40 | 2025.1.6 2025.2.4 2025.2.5 2025.3 | PF\JetBrains\IntelliJ IDEA 2025.2\bin\idea64.exe; HKUN32\IntelliJ IDEA 2025.2.4
jetbrains pycharm | w6 | c40 | 2025.1.3 2025.2.4 2025.2.5 2025.3 | PF\JetBrains\PyCharm 2025.2\bin\pycharm64.exe; HKUN32\PyCharm 2025.2.4
docker docker_desktop | w10 s1 | c21 | 4.50.0 4.51.0 4.52.0 4.53.0 | PF\Docker\Docker\Docker Desktop.exe; HKUN\Docker Desktop
postman postman | w10 | c21 | 11.68.5 11.70.0 11.72.5 11.75.1 | LOCAL\Postman\Postman.exe; HKUSER\Postman
wireshark wireshark | w9 s4 | c45 | *1 3.6.24 @2024-05-22; *4 4.4.9 4.4.10 4.4.11 4.4.12; *3 4.6.0 4.6.1 4.6.2 | PF\Wireshark\Wireshark.exe; HKUN\Wireshark
nmap npcap | w12 s6 | c120 | 1.80 1.81 1.83 1.84 | PF\Npcap\NPFInstall.exe; HKUN32\NpcapInst
winscp winscp | w20 s16 | c80 | 6.3.7 6.5.3 6.5.4 6.5.5 | PF86\WinSCP\WinSCP.exe; HKUN32\winscp3_is1
putty putty | w26 s20 | c120 | *1 0.73.0.0; *2 0.78.0.0; *5 0.81.0.0 0.82.0.0 0.83.0.0 | PF\PuTTY\putty.exe; HKUN\{4EEF2644-700F-46F8-9655-915145248986}
filezilla-project filezilla_client | w14 s6 | c40 | 3.69.1 3.69.3 3.69.5 3.69.6 | PF\FileZilla FTP Client\filezilla.exe; HKUN32\FileZilla Client
keepass keepass | w16 s5 | c90 | 2.57.1 2.58 2.59 2.60 | PF\KeePass Password Safe 2\KeePass.exe; HKUN32\KeePassPasswordSafe2_is1
greenshot greenshot | w14 | c120 | 1.2.10.6 1.3.290 1.3.301 1.3.304 | PF\Greenshot\Greenshot.exe; HKUN\Greenshot_is1
gimp gimp | w6 | c60 | *2 2.10.38; *4 3.0.4 3.0.6 | PF\GIMP 3\bin\gimp-3.exe; HKUN\GIMP-3_is1
irfanview irfanview | w8 | c120 | 4.70 4.71 4.72 4.73 | PF\IrfanView\i_view64.exe; HKUN\IrfanView64
paint.net paint.net | w9 | c90 | 5.1.7 5.1.8 5.1.9 5.1.11 | PF\paint.net\paintdotnet.exe; HKUN\{1B7B5D0C-6B79-4B55-9E2F-6E7A0E1D5F21}
libreoffice libreoffice | w9 s1 | c40 | *2 24.8.7.2 @2025-06-12; *3 25.2.5.2 25.2.6.2 25.2.7.2 @2025-11-30; *3 25.8.2.2 25.8.3.2 25.8.4.2 @2026-06-12 | PF\LibreOffice\program\soffice.exe; HKUN\{6F4A0D2E-8B1D-4F3E-9C50-77B1D0B0E5C3}
foxit pdf_reader | w14 | c45 | 2024.4.0.27683 2025.1.0.27937 2025.2.0.33046 2025.2.1.33197 | PF86\Foxit Software\Foxit PDF Reader\FoxitPDFReader.exe; HKUN32\Foxit Reader_is1
pdfforge pdfcreator | w7 | c90 | 5.3.3 6.0.0 6.1.0 | PF\PDFCreator\PDFCreator.exe; HKUN\{0001B4FD-9EA3-4D90-A79E-FD14BA3AB01D}
apple itunes | w7 | c90 | 12.13.7.1 12.13.8.3 12.13.9.1 | PF\iTunes\iTunes.exe; HKUN\{C0C3C0B4-5E3D-4E7C-A5F2-0D0C1F3B5D77}
apple icloud | w6 | c60 | 15.5.23.0 15.6.150.0 15.7.56.0 | PF\WindowsApps\AppleInc.iCloud_{v}_x86__nzyj5cx40ttqa\iCloud\iCloudHome.exe
apple quicktime | w2 | c2000 | 7.79.80.95 !2016-04-14 | PF86\QuickTime\QuickTimePlayer.exe; HKUN32\{FF59BD75-466A-4D5A-AD23-AAD87C5FD44C}
dropbox dropbox | w9 | c21 | 236.4.5918 237.4.5655 238.4.6075 239.4.8214 | PF86\Dropbox\Client\Dropbox.exe; HKUN32\Dropbox
spotify spotify | w10 | c14 | 1.2.76.298 1.2.77.358 1.2.78.418 1.2.79.425 | ROAMING\Spotify\Spotify.exe; HKUSER\Spotify
openjsf electron | w34 s2 | c40 sbs | *2 32.3.3 @2025-03-04; *3 37.10.2 37.10.3 @2026-01-13; *3 38.7.1 38.7.2 @2026-03-10; *3 39.2.4 39.2.6 39.2.7 @2026-05-05 | LOCAL\Programs\Signal\Signal.exe; LOCAL\GitHubDesktop\GitHubDesktop.exe
"""
"""Desktop applications and runtimes."""

COMPONENTS: Final = r"""
openssl openssl | w90 s88 | c60 sbs | *4 1.0.2u @2019-12-31; *6 1.1.1k 1.1.1t 1.1.1w @2023-09-11; *8 3.0.16 3.0.17 3.0.18 @2026-09-07; *3 3.1.7 3.1.8 @2025-03-14; *4 3.3.4 3.3.5 @2026-04-09; *4 3.5.3 3.5.4 @2030-04-08 | PF\Git\mingw64\bin\libcrypto-3-x64.dll; PF\OpenSSL-Win64\bin\openssl.exe; PF86\Intel\Intel(R) Management Engine Components\libcrypto-1_1.dll
haxx curl | w100 s100 | c70 sbs | *3 7.83.1 7.88.1; *5 8.14.1 8.15.0 8.16.0 8.17.0 | SYS\curl.exe; PF\Git\mingw64\bin\curl.exe
apache log4j | w12 s26 | c400 sbs | *3 1.2.16 1.2.17 !2015-08-05; *3 2.13.3 2.14.1 2.17.1 ; *3 2.24.3 2.25.1 2.25.2 | PD\app\lib\log4j-core-{v}.jar; PF\Tomcat\webapps\ROOT\WEB-INF\lib\log4j-core-{v}.jar
apache commons_text | w8 s14 | c400 | 1.9 1.10.0 1.13.0 1.14.0 | PF\Tomcat\webapps\ROOT\WEB-INF\lib\commons-text-{v}.jar
springsource spring_framework | w6 s14 | c60 sbs | *2 5.3.31 5.3.39 @2024-08-31; *3 6.1.20 6.1.21 @2025-06-30; *3 6.2.12 6.2.14 @2026-06-30 | PF\Tomcat\webapps\ROOT\WEB-INF\lib\spring-core-{v}.jar
sqlite sqlite | w60 s40 | c90 sbs | *3 3.41.2.0; *5 3.49.1.0 3.50.4.0 3.51.0.0 | SYS\winsqlite3.dll; LOCAL\Programs\Python\Python312\DLLs\sqlite3.dll
zlib zlib | w40 s30 | c300 sbs | *3 1.2.11 1.2.13; *3 1.3.1 1.3.1.1 | PF\Git\mingw64\bin\zlib1.dll
libpng libpng | w26 s10 | c200 | 1.6.43 1.6.47 1.6.50 1.6.52 | PF\GIMP 3\bin\libpng16-16.dll
webmproject libwebp | w30 s6 | c200 | 1.3.2 1.4.0 1.5.0 1.6.0 | PF\GIMP 3\bin\libwebp-7.dll
ffmpeg ffmpeg | w24 s4 | c150 sbs | *2 4.4.5 4.4.6; *3 6.1.2 6.1.3; *3 7.1.1 7.1.2 7.1.3 | PD\chocolatey\lib\ffmpeg\tools\ffmpeg\bin\ffmpeg.exe
gnu bash | w22 s14 | c400 | 5.2.26 5.2.37 | PF\Git\usr\bin\bash.exe
gnu gzip | w20 s12 | c900 | 1.12 1.13 1.14 | PF\Git\usr\bin\gzip.exe
perl perl | w20 s16 | c200 | 5.36.1 5.38.2 5.40.2 5.42.0 | PF\Git\usr\bin\perl.exe
openbsd openssh | w96 s80 | c200 sbs | *4 8.1.0.1 8.6.0.1; *4 9.5.4.1 9.8.3.0 ; *2 10.0.0.0 10.2.0.0 | SYS\OpenSSH\ssh.exe; PF\Git\usr\bin\ssh.exe
gnupg gnupg | w14 s6 | c200 | 2.4.5 2.4.7 2.4.8 | PF\Git\usr\bin\gpg.exe
intel management_engine_components | w70 s4 | c120 | 2413.6.4.0 2428.6.14.0 2517.8.0.0 | PF86\Intel\Intel(R) Management Engine Components\LMS\LMS.exe; HKUN\{1CEAC85D-2590-4760-800F-8DE5E91F3700}
intel graphics_driver | w66 | c60 | 32.0.101.6987 32.0.101.7026 32.0.101.7084 32.0.101.8247 | SYS\DriverStore\FileRepository\iigd_dch.inf_amd64\igdumdim64.dll
intel proset_wireless_wifi | w58 | c60 | 23.120.0.3 23.130.1.1 23.160.0.4 | SYS\DriverStore\FileRepository\netwtw14.inf_amd64\Netwtw14.sys; HKUN\{00000060-0240-1033-84C8-B8D95FA3C8C3}
intel rapid_storage_technology | w36 | c200 | 18.7.6.1010 19.5.7.1058 20.2.4.1019 | PF\Intel\Intel(R) Rapid Storage Technology\RstMwService.exe; HKUN\{409CB30E-E457-4008-9B1A-ED1B9EA21140}
intel computing_improvement_program | w30 | c90 | 2.4.10577 2.4.10717 2.4.10852 | PF\Intel\SUR\QUEENCREEK\x64\esrv_svc.exe; HKUN\{EC4B0C4E-6E36-4C1B-9A4E-5F9D8E1C2A44}
intel chipset_device_software | w62 s20 | c200 | 10.1.18838.8284 10.1.19627.8423 10.1.20266.8668 | HKUN32\{0dc0f0a1-7cbb-4dbb-92e6-8ebb0dc8b9a5}
nvidia geforce_experience | w10 | c90 | 3.27.0.120 3.28.0.412 3.28.0.417 !2024-11-12 | PF\NVIDIA Corporation\NVIDIA GeForce Experience\NVIDIA GeForce Experience.exe; HKUN\{B2FE1952-0186-46C3-BAEC-A80AA35AC5B8}_Display.GFExperience
nvidia gpu_display_driver | w22 s3 | c40 | 573.06 576.88 577.00 581.57 581.80 | SYS\DriverStore\FileRepository\nvdm.inf_amd64\nvlddmkm.sys; HKUN\{B2FE1952-0186-46C3-BAEC-A80AA35AC5B8}_Display.Driver
amd radeon_software | w12 | c60 | 25.8.1 25.9.2 25.10.2 25.11.1 | PF\AMD\CNext\CNext\RadeonSoftware.exe; HKUN\AMD Catalyst Install Manager
realtek audio_driver | w64 | c150 | 6.0.9721.1 6.0.9788.1 6.0.9847.1 | SYS\DriverStore\FileRepository\hdxrt.inf_amd64\RTKVHD64.sys; HKUN32\{F132AF7F-7BCA-4EDE-8A7C-958108FE7DBC}
dell supportassist | w26 | c60 | 4.5.0.21578 4.8.2.29006 4.9.0.31415 | PF\Dell\SupportAssistAgent\bin\SupportAssistAgent.exe; HKUN\{EC1C0A38-2F13-4B74-8A1B-7A5C3B2C1D0E}
dell command_update | w34 | c80 | 5.3.0 5.4.0 5.5.0 | PF\Dell\CommandUpdate\dcu-cli.exe; HKUN\{612F7720-D28F-473F-8FB9-C8D300B5F534}
dell optimizer | w18 | c80 | 5.0.25.0 6.0.1.0 6.1.2.0 | PF\Dell\DellOptimizer\DellOptimizer.exe; HKUN\{286A9ADE-A581-43E8-AA85-6F5D58C7DC88}
dell openmanage_server_administrator | s16 | c200 | 10.3.0.0 11.0.1.0 11.1.0.0 | PF\Dell\SysMgt\omsa\bin\omacore.exe; HKUN\{7C3B0A26-3F34-4A85-B8A2-8A7B57DB3C52}
lenovo vantage_service | w20 | c60 | 4.2511.24.0 5.2509.3.0 5.2511.1.0 | PF86\Lenovo\VantageService\LenovoVantageService.exe; HKUN32\VantageSRV_is1
lenovo system_update | w18 | c150 | 5.08.02.25 5.08.03.47 5.08.03.59 | PF86\Lenovo\System Update\tvsu.exe; HKUN32\TVSU_is1
hp support_assistant | w16 | c90 | 9.34.27.0 9.44.18.0 9.47.41.0 | PF86\HP\HP Support Framework\HPSF.exe; HKUN32\{B5E9C7C1-50B2-4B0D-9E53-3C9B1C8E7F66}
hp sure_click | w10 | c120 | 4.4.18.1130 4.4.25.2203 | PF\HP\Sure Click\bin\BrHostSvr.exe; HKUN\{0E2E04B0-9551-11EC-B21F-10604B96B11C}
logitech options+ | w14 | c45 | 1.90.4.1 1.94.4.2 1.98.8.3 | PF\LogiOptionsPlus\logioptionsplus.exe; HKUN\{850cdc16-85df-4052-b06e-4e3e9e83c5c6}
displaylink displaylink_graphics | w20 | c120 | 11.5.6038.0 11.7.4221.0 12.0.231.0 | PF\DisplayLink Core Software\DisplayLinkManager.exe; HKUN\{5D3B2C1F-2F5B-4E9A-8D5B-1F9A8C7B6E50}
synaptics touchpad_driver | w30 | c300 | 19.5.35.59 19.5.43.14 | SYS\DriverStore\FileRepository\synpd.inf_amd64\SynTP.sys
zscaler client_connector | w30 | c60 | 4.4.0.368 4.5.0.381 4.7.0.61 | PF\Zscaler\ZSATray\ZSATray.exe; HKUN\Zscaler
paloaltonetworks globalprotect | w20 | c60 | *2 5.2.13 @2023-06-30; *4 6.2.8 6.3.2 6.3.3 | PF\Palo Alto Networks\GlobalProtect\PanGPA.exe; HKUN\{2B5D8A4F-8E4C-4D4A-9E0E-7A8E4A2D9C11}
fortinet forticlient | w10 | c60 | *2 6.4.10.1821 @2024-05-28; *3 7.2.10.1066 7.2.12.1269; *3 7.4.3.1790 7.4.4.1887 | PF\Fortinet\FortiClient\FortiClient.exe; HKUN\{A2D2A8F0-8F1E-4D3F-9E6F-C3B4C0B2C501}
solarwinds orion_agent | s22 | c120 | 2024.4.1 2025.1.0 2025.2.1 | PF86\SolarWinds\Agent\SolarWinds.Agent.Service.exe; HKUN32\{1C0F2A3B-9B1A-4B74-8E10-3B0E0D0B6A87}
splunk universal_forwarder | w10 s52 | c60 | *1 8.2.12 @2023-09-30; *2 9.1.10 @2025-06-28; *3 9.3.7 9.3.8 @2026-07-24; *4 9.4.5 9.4.6 9.4.7 @2026-12-16 | PF\SplunkUniversalForwarder\bin\splunkd.exe; HKUN\{6C3E2D1B-0A5F-4B3E-9C8D-7E6F5A4B3C2D}
veritas netbackup_client | s20 | c200 | 10.1.1 10.3.0.1 10.5.0.1 11.0 | PF\Veritas\NetBackup\bin\bpcd.exe; HKUN\{5B9C2C1D-1E57-4B1F-9B87-C7C2B5C70B50}
veeam agent_for_windows | s18 | c120 | *2 6.0.2.1090; *4 6.3.1.1074 6.3.2.1205 | PF\Veeam\Endpoint Backup\Veeam.EndPoint.Service.exe; HKUN\{3D9A1C4E-2D7B-4A1B-8B6E-2B1F7A2C0E11}
qualys cloud_agent | w26 s40 | c60 | 5.8.0.21 6.2.5.4 6.3.0.81 | PF\Qualys\QualysAgent\QualysAgent.exe; HKUN\{3E1D2B7C-4D3B-4D5F-9A5B-6D5C3E1F2A01}
tenable nessus_agent | w10 s24 | c60 | 10.8.5 10.9.1 11.0.1 11.0.3 | PF\Tenable\Nessus Agent\nessus-agent-module.exe; HKUN\{3B8A2B9E-7D1C-4B4E-9F0B-6B5A4D3C2E1F}
apache tomcat | w2 s18 | c40 | *1 7.0.109 @2021-03-31; *1 8.5.100 @2024-03-31; *4 9.0.109 9.0.111 9.0.113; *3 10.1.46 10.1.48 10.1.50; *2 11.0.12 11.0.14 11.0.15 | PF\Apache Software Foundation\Tomcat 9.0\bin\tomcat9.exe; HKUN\Apache Tomcat 9.0 Tomcat9
apache http_server | w1 s10 | c90 | *1 2.2.34 @2017-07-11; *4 2.4.63 2.4.64 2.4.65 2.4.66 | PF\Apache24\bin\httpd.exe
mysql mysql_server | w2 s10 | c90 | *1 5.7.43 5.7.44 @2023-10-31; *4 8.0.42 8.0.43 8.0.44 @2026-04-30; *3 8.4.5 8.4.6 8.4.7 @2032-04-30 | PF\MySQL\MySQL Server 8.0\bin\mysqld.exe; HKUN\{8B7D5A3E-2C1F-4E6B-9A8D-0F1E2D3C4B5A}
postgresql postgresql | w2 s8 | c90 | *1 11.21 11.22 @2023-11-09; *2 13.21 13.22 13.23 @2025-11-13; *3 14.18 14.19 14.20 @2026-11-12; *3 16.9 16.10 16.11 @2028-11-09; *2 17.5 17.6 17.7 @2029-11-08 | PF\PostgreSQL\16\bin\postgres.exe; HKUN\PostgreSQL 16
mongodb mongodb | s5 | c60 | *1 4.4.29 @2024-02-29; *2 6.0.24 6.0.26 @2025-07-31; *3 7.0.22 7.0.25 7.0.26 @2027-08-31 | PF\MongoDB\Server\7.0\bin\mongod.exe; HKUN\{0F4B3D5A-6C7E-4F8A-9B0C-1D2E3F4A5B6C}
redis redis | s4 | c2000 | 3.0.504 3.2.100 !2018-12-31 | PF\Redis\redis-server.exe; HKUN\{05410198-7212-4FC4-B7C8-AFEFC3DA0FBC}
php php | s8 | c30 | *2 7.4.33 @2022-11-28; *1 8.0.30 @2023-11-26; *3 8.1.32 8.1.33 8.1.34 @2025-12-31; *3 8.2.28 8.2.29 8.2.30 @2026-12-31; *3 8.3.25 8.3.27 8.3.29 @2027-12-31 | C:\php\php.exe
"""
"""Libraries, drivers, agents and servers."""
